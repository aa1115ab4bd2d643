"""The rivers of the built-in wiki: which flows into which, and through what. The figures in the pages are made up from the names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class System:
    """A main river and those that flow into it."""

    river: str
    continent: str
    mouth: str
    countries: tuple[str, ...]
    tributaries: tuple[str, ...]


def _system(river: str, continent: str, mouth: str, names: tuple[str, str]) -> System:
    countries, tributaries = names
    return System(river, continent, mouth, tuple(countries.split(", ")), tuple(tributaries.split(", ")))


SYSTEMS = (
    _system(
        "Elbe",
        "Europe",
        "North Sea",
        (
            "Czechia, Germany",
            "Vltava, Saale, Havel, Mulde, Schwarze Elster, Ohre, Elde, Ilmenau, Stör, Oste, Jeetzel, Alster, Bille, Jizera",
        ),
    ),
    _system(
        "Rhine",
        "Europe",
        "North Sea",
        (
            "Switzerland, Germany, France, Netherlands",
            "Aare, Neckar, Main, Moselle, Lahn, Ruhr, Lippe, Nahe, Sieg, Wupper, Ahr, Kinzig, Murg, Ill, Thur, Wutach",
        ),
    ),
    _system(
        "Danube",
        "Europe",
        "Black Sea",
        (
            "Germany, Austria, Slovakia, Hungary, Serbia, Romania",
            "Inn, Isar, Lech, Iller, Altmühl, Naab, Regen, Enns, Morava, Drava, Sava, Tisza, Prut, Siret, Olt, Timiș, Váh, Rába",
        ),
    ),
    _system("Weser", "Europe", "North Sea", ("Germany", "Aller, Fulda, Werra, Hunte, Diemel, Lesum, Emmer, Nethe, Große Aue")),
    _system(
        "Oder", "Europe", "Baltic Sea", ("Czechia, Poland, Germany", "Warta, Bóbr, Barycz, Kaczawa, Bystrzyca, Opava, Ostravice, Olza")
    ),
    _system("Vistula", "Europe", "Baltic Sea", ("Poland", "Bug, Narew, San, Pilica, Wieprz, Dunajec, Nida, Wisłoka, Brda, Drwęca, Raba")),
    _system(
        "Rhône", "Europe", "Mediterranean Sea", ("Switzerland, France", "Saône, Isère, Durance, Ain, Drôme, Ardèche, Gard, Arve, Gier")
    ),
    _system("Loire", "Europe", "Atlantic Ocean", ("France", "Allier, Cher, Indre, Vienne, Maine, Nièvre, Sèvre Nantaise, Beuvron, Aubois")),
    _system("Seine", "Europe", "English Channel", ("France", "Marne, Oise, Yonne, Aube, Eure, Loing, Essonne, Epte, Risle")),
    _system("Thames", "Europe", "North Sea", ("England", "Cherwell, Kennet, Lea, Wey, Mole, Thame, Windrush, Evenlode, Colne, Medway")),
    _system(
        "Po", "Europe", "Adriatic Sea", ("Italy", "Ticino, Adda, Tanaro, Oglio, Mincio, Trebbia, Taro, Secchia, Panaro, Dora Baltea, Sesia")
    ),
    _system("Ebro", "Europe", "Mediterranean Sea", ("Spain", "Segre, Gállego, Aragón, Jalón, Cinca, Huerva, Guadalope, Arga, Ega")),
    _system("Volga", "Europe", "Caspian Sea", ("Russia", "Oka, Kama, Sura, Vetluga, Samara, Unzha, Kostroma, Sheksna, Mologa, Tvertsa")),
    _system(
        "Nile",
        "Africa",
        "Mediterranean Sea",
        ("Uganda, South Sudan, Sudan, Egypt", "White Nile, Blue Nile, Atbara, Sobat, Bahr el Ghazal, Dinder, Rahad"),
    ),
    _system("Congo", "Africa", "Atlantic Ocean", ("DR Congo", "Ubangi, Kasai, Lomami, Aruwimi, Itimbiri, Lulonga, Ruki, Sangha, Lualaba")),
    _system(
        "Niger",
        "Africa",
        "Gulf of Guinea",
        ("Guinea, Mali, Niger, Nigeria", "Benue, Bani, Sokoto, Kaduna, Tinkisso, Milo, Niandan, Anambra"),
    ),
    _system(
        "Zambezi", "Africa", "Indian Ocean", ("Zambia, Zimbabwe, Mozambique", "Kafue, Luangwa, Shire, Kabompo, Gwayi, Luena, Lungwebungu")
    ),
    _system(
        "Amazon",
        "South America",
        "Atlantic Ocean",
        (
            "Peru, Colombia, Brazil",
            "Rio Negro, Madeira, Tapajós, Xingu, Japurá, Purus, Juruá, Putumayo, Napo, Marañón, Ucayali, Trombetas, Javary",
        ),
    ),
    _system(
        "Paraná",
        "South America",
        "Río de la Plata",
        ("Brazil, Paraguay, Argentina", "Paraguay River, Iguazu, Tietê, Paranapanema, Salado, Ivaí"),
    ),
    _system(
        "Mississippi",
        "North America",
        "Gulf of Mexico",
        (
            "United States",
            "Missouri, Ohio, Arkansas, Red River, Illinois, Des Moines, Yazoo, Wisconsin, Minnesota, St. Croix, Kaskaskia, White River",
        ),
    ),
    _system(
        "Columbia",
        "North America",
        "Pacific Ocean",
        ("Canada, United States", "Snake, Willamette, Kootenay, Deschutes, Yakima, Okanogan, Cowlitz"),
    ),
    _system("Mackenzie", "North America", "Arctic Ocean", ("Canada", "Liard, Peace, Athabasca, Great Bear River, Arctic Red River, Slave")),
    _system("Yangtze", "Asia", "East China Sea", ("China", "Han, Yalong, Min, Jialing, Wu, Xiang, Gan, Yuan, Huangpu, Dadu")),
    _system(
        "Mekong",
        "Asia",
        "South China Sea",
        ("China, Laos, Thailand, Cambodia, Vietnam", "Mun, Tonlé Sap, Nam Ou, Nam Ngum, Sekong, Srepok, Kok"),
    ),
    _system(
        "Ganges",
        "Asia",
        "Bay of Bengal",
        ("India, Bangladesh", "Yamuna, Ghaghara, Gandaki, Kosi, Son, Gomti, Ramganga, Mahananda, Damodar"),
    ),
    _system("Indus", "Asia", "Arabian Sea", ("India, Pakistan", "Jhelum, Chenab, Ravi, Beas, Sutlej, Kabul River, Shyok, Zanskar, Gilgit")),
    _system(
        "Murray",
        "Australia",
        "Southern Ocean",
        ("Australia", "Darling, Murrumbidgee, Goulburn, Mitta Mitta, Ovens, Campaspe, Loddon, Edward"),
    ),
)
