"""What a result was made of: code, machine, versions, and commits of the Hub."""
