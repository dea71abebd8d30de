"""A killed training goes on where it stopped: what is saved, how it is kept whole, who goes on."""
