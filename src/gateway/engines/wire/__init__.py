"""What a gateway and a node say to each other, as bytes. No transport is known here."""
