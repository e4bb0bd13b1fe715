"""Where briefs come from: files and URLs, and lists in the formats that people have."""
