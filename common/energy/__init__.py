"""Physics and prices of a home: battery, ageing, connection, tariff; pure functions of arrays."""
