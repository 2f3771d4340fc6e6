"""The harness of real faults: that it does what it says, and a short run of it."""
