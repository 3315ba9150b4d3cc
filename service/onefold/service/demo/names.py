"""Made people's names, streets and ways to reach them.

Mail goes to domains that are reserved for examples (RFC 2606), phone numbers are those that Britain's regulator
keeps for drama: nobody can be reached by any of it.
"""

# ruff: noqa: SIM905 - a hundred names are read more easily as text

from typing import Final

GIVEN: Final = (
    "Ada Agnes Alice Amir Amy Anna Arthur Asha Ben Beth Callum Carys Chloe Clara Daisy Daniel Dev Dylan Edith Eleanor"
    " Elif Ella Emily Ewan Farah Felix Finn Freya George Grace Hamish Hannah Harriet Harry Ida Imogen Iris Isla Jack"
    " James Jasmine Joan Joe Kai Kate Leah Leo Lewis Lily Lola Lucy Maeve Mark Martha Maya Megan Mia Mohammed Molly"
    " Nadia Nina Noah Nora Olive Oliver Oscar Owen Patrick Peter Phoebe Priya Quentin Rhys Robin Rosa Ruby Ruth Sam"
    " Sara Sean Simon Sophie Stella Tariq Tess Theo Thomas Tom Una Vera Violet Wendy Will Yasmin Zara Zoe"
).split()

FAMILY: Final = (
    "Abbott Adeyemi Ahmed Akhtar Allen Archer Ashton Baker Barlow Begum Bell Bennett Bishop Booth Bowen Bradley Brook"
    " Burton Byrne Carr Chapman Clarke Cole Cooper Cox Cross Dale Davies Dixon Doyle Dunn Ellis Evans Farrell Fisher"
    " Fletcher Flynn Ford Foster Fox Gallagher Gibson Gill Graham Grant Gray Green Griffiths Hale Harding Hart Hayes"
    " Hill Holt Howard Hughes Hunt Hussain Irving Jarvis Jenkins Kaur Kelly Khan Knight Lamb Lane Lawson Lloyd Lowe"
    " Lynch Marsh Mason Miller Mistry Moore Morgan Murphy Nash Nolan Norton Okafor Osborne Owens Palmer Parker Patel"
    " Payne Pearce Perry Porter Powell Price Quinn Reid Rhodes Riley Rowe Ryan Shah Sharp Shaw Singh Slater Stone"
    " Sutton Swift Tait Thorne Turner Vaughan Wade Walsh Ward Watts Webb Wells West Wilde Wood Wren Yates Young"
).split()

STREETS: Final = (
    "Acorn Lane, Albert Road, Bridge Street, Canal Walk, Castle Hill, Church Lane, Elm Grove, Ferry Road, Garden"
    " Terrace, High Street, Hill Rise, Kiln Close, Lime Avenue, Market Place, Mill Lane, Orchard Way, Park View,"
    " Queen Street, Station Road, Tannery Row, Victoria Road, Well Street, Willow Drive, York Place"
).split(", ")

CITIES: Final = (
    ("Leeds", "LS", "0113 496"),
    ("Sheffield", "S", "0114 496"),
    ("Leicester", "LE", "0116 496"),
    ("Bristol", "BS", "0117 496"),
    ("Reading", "RG", "0118 496"),
    ("Birmingham", "B", "0121 496"),
    ("Edinburgh", "EH", "0131 496"),
    ("Glasgow", "G", "0141 496"),
    ("Liverpool", "L", "0151 496"),
    ("Manchester", "M", "0161 496"),
    ("Newcastle", "NE", "0191 498"),
    ("London", "SE", "020 7946"),
)
"""Towns with the letters of their postal codes and the beginning of their drama numbers: four digits follow."""

MAIL_DOMAINS: Final = ("example.com", "example.net", "example.org", "mail.example.com", "post.example.net")
