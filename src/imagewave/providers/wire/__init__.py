"""What all providers' formats share: lines, long values, images, usage."""
