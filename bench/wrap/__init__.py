"""What the library costs a request and a start, as a whole."""
