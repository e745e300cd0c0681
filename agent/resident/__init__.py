"""The resident agent: takes a bundle, keeps it, makes the host so and keeps it so, answers what is true."""
