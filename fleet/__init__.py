"""The controller: it turns an inventory into bundles, carries them to hosts and reads back what is true."""
