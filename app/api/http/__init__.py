"""What every operation of the API shares: routing, requests, responses, errors, documentation."""
