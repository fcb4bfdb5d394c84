"""What a trained network answers: predictions, scores on new data, and its segments."""
