"""YAML to a typed model. Every finding carries file, line and column; nothing here touches a host."""
