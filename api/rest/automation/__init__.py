"""The paths of Kameleoon's Automation API, in its shapes (promise W13)."""
