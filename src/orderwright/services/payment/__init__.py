"""The payment service: takes money once, gives it back when it must, and asks when it does not know."""
