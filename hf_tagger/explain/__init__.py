"""How a tagger decides: what it reacts to in time and frequency, and whether that explanation holds."""
