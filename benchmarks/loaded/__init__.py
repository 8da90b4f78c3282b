"""Groups to judge, a server whose replies are as long as a thinking judge's, and the least time that they can take."""
