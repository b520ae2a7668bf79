"""Cards of released checkpoints, one JSON file for each family; read by catalogue.py."""
