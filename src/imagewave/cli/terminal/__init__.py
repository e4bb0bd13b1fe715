"""What the commands share: numbers read, progress, tables and advice shown."""
