"""vmexit-sim: what VM exits cost a guest, under any policy for reaching its devices."""

__version__ = "0.1.0"
