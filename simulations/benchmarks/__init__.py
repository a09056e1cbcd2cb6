"""What ``fedwatt benchmark`` measures, each in a folder with its command."""
