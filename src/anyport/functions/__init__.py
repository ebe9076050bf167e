"""What a function answers: the server's routes without a socket, and what clouds wrap requests and batches in."""
