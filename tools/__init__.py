"""What developers and CI use beside orderwright itself."""
