"""What a replica counts and measures. Ids are never labels."""
