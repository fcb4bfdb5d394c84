"""What leaks: measured on segments and smashed data, whatever method trained them."""
