"""Documents of office programs: archives of XML, whose macros and embedded objects are ignored."""
