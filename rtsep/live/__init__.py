"""Live audio: hosts, engine processes, the mixer and what the player sees."""
