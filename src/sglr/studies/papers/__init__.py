"""Papers reproduced: their tables and figures as declared experiments, with their own numbers beside ours."""
