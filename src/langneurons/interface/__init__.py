"""What the engine of studies and a part of them know of each other."""
