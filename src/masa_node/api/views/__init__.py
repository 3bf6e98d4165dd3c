"""What GET endpoints answer: lists of models, the past, the description of the API."""
