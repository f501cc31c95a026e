"""The service: forecasts over HTTP, who may ask, which model answers, and how it is watched."""
