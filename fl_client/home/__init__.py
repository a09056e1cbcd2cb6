"""A home's live side: its meters, its battery and its page, in one process beside the ClientApp."""
