"""holdfast in other libraries. Each module here needs the library that it is named after, and nothing else does."""
