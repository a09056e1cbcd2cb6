"""What a deployment costs: a real coordinator and real households on one machine, measured."""
