"""What is kept on disk: whole files, checkpoints, folders; and polite stops."""
