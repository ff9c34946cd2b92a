"""Charts: plain values in, a plotly figure out. Nothing here knows the store or Dash."""
