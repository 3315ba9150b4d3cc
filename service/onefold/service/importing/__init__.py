"""Files into items: readers that turn rows into what the gRPC stream takes, or say why they don't."""
