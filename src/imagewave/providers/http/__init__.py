"""What all providers' REST APIs share: sessions, patience, downloads, faults."""
