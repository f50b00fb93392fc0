"""What builds and checks the repository: nothing here runs in a room."""
