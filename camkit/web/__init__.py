"""The page and the API: everything that needs Gradio."""
