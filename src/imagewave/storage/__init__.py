"""What is remembered: requests, objects, jobs, facts, money, models."""
