"""Words that every text of a language has, whatever it is about: folded, by code of the language.

They tell the language of a text, and count for little in a question.
"""

STOP_WORDS = {
    "ar": """
        في من على إلى الى عن مع بعد قبل بين حتى منذ عند لدى خلال حول دون ضد هذا هذه ذلك تلك
        هؤلاء أولئك الذي التي الذين اللاتي ما ماذا متى أين اين كيف كم لماذا هل أي أية أو او و ف
        ثم لكن بل أن ان إن إذا اذا لو لا لم لن ليس ليست كان كانت كانوا يكون تكون هو هي هم هن أنا
        انا نحن أنت أنتم كل بعض غير قد كما لقد أيضا ايضا فقط هناك هنا به بها فيه فيها منه منها
        له لها عليه عليها إليه كذلك حيث مثل""",
    "ca": """
        el la els les l un una uns unes de d del dels a al als en amb per pel pels sense sobre
        entre fins i o però ni que què qui qual quan on com quant quants quina quin perquè si no
        és són era ser està estan té tenen hi ha han he jo tu ell ella nosaltres vosaltres ells
        elles em et es ens us ho li aquest aquesta aquests aquestes això allò molt més menys
        també tot tota tots totes seu seva""",
    "cs": """
        a i v ve na do z ze s se k ke o u od po pro při za nad pod před mezi bez aby ale nebo
        ani že když kde kdy kdo co jak jaký jaká jaké který která které kolik proč je jsou byl
        byla bylo byli být jsem jsi jsme jste není má mají mám můžu může mohu si to ten ta tento
        tato toto já ty on ona ono my vy oni mi mě mu ho ji jí jejich jeho její svůj také už jen
        ještě""",
    "da": """
        en et den det de der som og i på at af til for med fra om ved ud over under efter før
        uden mellem er var har havde være været bliver blev kan kunne skal skulle vil ville må
        jeg mig min mit mine du dig din dit dine han ham hans hun hende hendes vi os vores jer
        jeres sig sin sit sine man hvad hvem hvor hvornår hvordan hvorfor hvilken hvilket hvilke
        mange meget ikke men eller hvis når så også kun denne dette disse alle nogen noget ingen
        her op ned""",
    "de": """
        der die das den dem des ein eine einen einem einer eines kein keine keinen keinem keiner
        und oder aber doch sondern denn wenn als ob dass weil damit in im ins an am ans auf
        aus bei beim mit nach von vom vor zu zum zur für durch gegen ohne um über unter zwischen
        seit bis während wegen ist sind war waren sein bin bist wird werden wurde wurden worden
        habe hast hat haben hatte hatten kann kannst können könnte muss müssen soll sollen
        will wollen darf dürfen mag möchte möchten ich mich mir mein meine meinen meinem meiner
        du dich dir dein deine er ihn ihm sie es wir uns unser unsere ihr ihre ihren ihrem ihrer
        euch euer seine seinen seinem seiner sich man wer wen wem was wann wo wohin woher wie
        warum wieso welche welcher welches welchen welchem wieviel nicht nichts nur auch noch
        schon sehr so hier da dort dann diese dieser dieses diesen diesem jede jeder jedes alle
        allen mehr etwa bitte gibt gib hallo hi danke""",
    "el": """
        ο η το οι τα του της των τον την τους τις στο στη στην στον στα στους στις και ή αλλά με
        για από σε ως προς κατά μετά πριν μεταξύ χωρίς που πού πότε πώς πως ποιος ποια ποιο
        ποιοι τι πόσο πόσα γιατί αν ότι να θα δεν μην είναι ήταν είμαι έχει έχουν έχω μπορώ
        μπορεί εγώ εσύ αυτός αυτή αυτό αυτά εμείς εσείς μου σου μας σας ένα ένας μια μία όλα
        όλοι πολύ πιο όταν επίσης""",
    "en": """
        a an the this that these those some any each every all both either neither such i me my
        mine myself we us our ours ourselves you your yours yourself he him his she her hers it
        its itself they them their theirs who whom whose which what when where why how am is are
        was were be been being do does did done doing have has had having can could may might
        must shall should will would and or but nor if then than so as because while although
        though of in on at by for with about against between into through during to from up down
        out off over under again once here there too very just also only own same other more
        most no not yes s t d m ll re ve don doesn didn isn aren wasn weren won wouldn couldn
        shouldn cannot please get got let want like need one ones whats wheres whos hows thats
        theres dont doesnt isnt cant wont im ive hi hello hey thanks thx""",
    "es": """
        el la los las lo un una unos unas de del a al en con por para sin sobre entre desde
        hasta hacia según durante contra tras y e o u pero ni sino que qué quien quién quienes
        quiénes cual cuál cuáles cuando cuándo donde dónde como cómo cuanto cuánto cuánta
        cuántos cuántas porque si sí no es son era eran fue fueron ser sido está están estaba
        estar hay ha han he había haber tiene tienen tengo tener puede pueden puedo debe deben
        yo me mi mis mí tú te tu tus él ella ello nosotros nos nuestro nuestra ustedes usted
        ellos ellas se su sus le les este esta estos estas esto ese esa esos esas eso aquel
        aquella muy más menos también ya todo toda todos todas cada otro otra otros otras hola
        gracias""",
    "fi": """
        ja tai mutta että jos kun koska kuin niin myös vain ei en et emme ette eivät ole olen
        olet on olemme olette ovat oli olivat ollut olla voi voin voivat voiko saa saako pitää
        täytyy minä sinä hän me te he se ne minun sinun hänen meidän teidän heidän minulla sen
        niiden tämä tuo nämä nuo tämän tässä siinä joka jotka jonka jossa mikä mitä missä mistä
        mihin milloin miten miksi kuka kenen kuinka paljon monta onko hyvin kaikki jokin joku
        ennen jälkeen kanssa sekä vielä jo siitä niitä""",
    "fr": """
        le la les l un une des du de d au aux à en dans par pour sur sous avec sans chez entre
        vers depuis pendant avant après contre et ou mais ni car donc or que qu qui quoi quel
        quelle quels quelles dont où quand comment combien pourquoi lequel laquelle si ne n pas
        plus moins est sont était étaient être été suis es sommes êtes a as ont ai avons avez
        avait avoir fait faut peut peuvent peux puis doit doivent je j me m moi mon ma mes tu te
        t toi ton ta tes il elle on nous notre nos vous votre vos ils elles leur leurs se s son
        sa ses lui y ce c cet cette ces ça cela ceci tout toute tous toutes très aussi même
        autre autres bonjour bonsoir salut merci""",
    "hi": """
        का के की को में से पर ने और या तथा एवं लेकिन कि यह ये वह वे इस उस इन उन जो जिस है हैं था
        थे थी हो होता होती होते हुआ हुई गया गई कर करना करने किया क्या कब कहाँ कहां कौन कैसे
        कितना कितने कितनी क्यों मैं हम तुम आप मेरा मेरी हमारा आपका अपना अपने नहीं न भी ही तो एक
        लिए साथ तक बाद पहले""",
    "hu": """
        a az egy és vagy de hogy ha mert mint is nem ne van vannak volt voltak lesz lenni lehet
        kell én te ő mi ti ők ez ezt azt ezek azok ennek annak aki ami amely melyik milyen ki
        mit mikor hol hova honnan hogyan hány mennyi miért már még csak nagyon minden által után
        előtt alatt között szerint""",
    "it": """
        il lo la i gli le l un uno una di d del dello della dei degli delle dell a al allo alla
        ai agli alle all da dal dalla dai dagli dalle dall in nel nello nella nei negli nelle
        nell con su sul sulla sui sulle sull per tra fra e ed o ma né che chi cui quale quali
        quando dove come quanto quanta quanti quante perché se non è sono era erano essere stato
        stata ho hai ha abbiamo avete hanno aveva avere può possono posso deve devono io mi mio
        mia miei mie tu ti tuo tua lui lei noi ci nostro nostra voi vi vostro loro si suo sua
        suoi sue questo questa questi queste quello quella quelli quelle anche più meno molto
        tutto tutti tutte c ciao buongiorno grazie""",
    "nl": """
        de het een en of maar want dat die dit deze in op aan van voor met door naar bij om over
        onder uit tot tegen tussen tijdens zonder na sinds te ter is zijn was waren ben bent
        wordt worden werd werden geworden heeft hebben heb had hadden kan kunnen kun moet moeten
        mag mogen zal zullen wil willen ik me mij mijn je jij jouw u uw hij hem zij ze haar wij
        we ons onze jullie hun hen zich er men wie wat waar wanneer hoe waarom welke welk
        hoeveel niet geen niets ook nog al alle meer zeer zo dan als omdat hier daar hallo hoi
        bedankt""",
    "no": """
        en et ei den det de der som og i på at av til for med fra om ved ut over under etter før
        uten mellom er var har hadde være vært blir ble kan kunne skal skulle vil ville må jeg
        meg min mitt mine du deg din ditt dine han ham hans hun henne hennes vi oss vår vårt
        våre dere deres seg sin sitt sine man hva hvem hvor når hvordan hvorfor hvilken hvilket
        hvilke mange mye ikke men eller hvis så også bare kun denne dette disse alle noen noe
        ingen her opp ned""",
    "pl": """
        i a w we na do z ze o u od po dla przy za nad pod przed między bez oraz ale lub albo ani
        że żeby aby gdy kiedy gdzie kto co jak jaki jaka jakie który która które ile dlaczego
        czy jest są był była było byli być jestem nie ma mają mam mogę może można się to ten ta
        te tego tej tych ja ty on ona ono my wy oni mi mnie mu go jej ich jego swój także też
        już tylko jeszcze cześć dziękuję proszę""",
    "pt": """
        o a os as um uma uns umas de do da dos das em no na nos nas num numa por pelo pela pelos
        pelas para com sem sob sobre entre até desde durante contra após e ou mas nem que quê
        quem qual quais quando onde como quanto quanta quantos quantas porque se não é são era
        eram foi foram ser sido está estão estava estar há tem têm tinha ter tenho pode podem
        posso deve devem eu me mim meu minha meus minhas tu te teu você vocês ele ela eles elas
        nós nosso nossa lhe lhes seu sua seus suas este esta estes estas isto esse essa esses
        essas isso aquele aquela ao aos à às muito mais menos também já todo toda todos todas
        cada outro outra olá oi obrigado obrigada""",
    "ro": """
        a al ale ai și sau dar nici că care ce cine când unde cum cât câți câte de la în din pe
        cu pentru prin fără sub peste între până după înainte este sunt era erau fi fost am are
        au avea poate pot trebuie eu tu el ea noi voi ei ele mă te se îi îl le lui lor meu mea
        un o unei unui unor acest această acești aceste acea nu mai foarte""",
    "ru": """
        и в во на с со к ко у о об от до из за по под над при про для без между через после
        перед около а но или либо да что чтобы как если когда где куда откуда кто чего чем кому
        кого какой какая какое какие каком сколько почему зачем ли не ни нет же бы был была было
        были быть будет будут есть это этот эта эти этого этой том тот та те то я меня мне мой
        моя мы нас нам наш ты тебя вы вас вам ваш он его ему она ее её ей они их им себя свой
        все всё всех который которая которое которые которых также только уже ещё еще очень
        можно нужно там тут здесь так более привет здравствуйте спасибо пожалуйста""",
    "sv": """
        en ett den det de som och i på att av till för med från om vid ut över under efter före
        utan mellan är var har hade vara varit blir blev kan kunde ska skall skulle vill ville
        måste får jag mig min mitt mina du dig din ditt dina han honom hans hon henne hennes vi
        oss vår vårt våra ni er ert era sig sin sitt sina man vad vem när hur varför vilken
        vilket vilka många mycket inte men eller så också bara endast denna detta dessa alla
        någon något några ingen här där upp ner hej tack""",
    "tr": """
        ve veya ya da de ile için bir bu şu o bunlar şunlar onlar ben sen biz siz benim senin
        onun bizim sizin bana sana ona bize beni seni onu ne kim kimin nerede nereye nereden
        zaman nasıl neden niçin hangi kaç kadar mi mı mu mü midir mıdır değil var yok olan
        olarak olduğu oldu olur ise ama fakat çünkü gibi daha en çok az her tüm bütün bazı sonra
        önce göre üzere tarafından ki den dan merhaba selam teşekkürler lütfen""",
}


def stop_words(code: str) -> list[str]:
    """Return the stop words of a language, none where it is not known."""
    return STOP_WORDS.get(code, "").split()
