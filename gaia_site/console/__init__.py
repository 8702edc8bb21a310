"""What joins the rooms in the console: home, what needs a person, the palette."""
