"""Floor 2. The rim toward the exchanges: one folder a venue, one port for all."""
