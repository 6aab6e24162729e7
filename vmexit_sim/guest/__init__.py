"""What a guest does: access tables, the generators that make them, the traces they come from."""
