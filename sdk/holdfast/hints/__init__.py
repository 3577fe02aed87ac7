"""What a type hint says of values: how they are read from JSON, and what would be lost on the way there and back."""
