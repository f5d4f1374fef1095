"""Other ways to do the work that users could pick, one module for each."""
