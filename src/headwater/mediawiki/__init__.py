"""The wiki as a client sees it: action API, titles, recent changes."""
