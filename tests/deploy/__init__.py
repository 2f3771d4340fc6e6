"""What is delivered besides the code: the image, the compose files and what they say of settings and servers."""
