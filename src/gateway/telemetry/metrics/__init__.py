"""What happened since the gateway began and how it is now, as numbers; knows no HTTP."""
