"""The pages people work with: drawn with Dash and plotly, in two languages, on the store's data."""
