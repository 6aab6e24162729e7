"""What comes out of a run: records of single accesses, and their reduction."""
