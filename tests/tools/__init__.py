"""What is beside the product: the tools that its Makefile calls."""
