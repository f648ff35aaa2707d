"""Vietnamese. Animals carry their classifier (con), cars theirs (chiếc)."""

from langneurons.mini.lexicon.schema import AGES, LATIN_NAMES, Language, Relation

LANGUAGE = Language(
    code="vi",
    names=LATIN_NAMES,
    stop=".",
    question="{S}?",
    yes_no="{S} phải không?",
    answers=("Đúng", "Sai", "Không rõ"),
    contrast=", còn ",
    relations={
        "city": Relation(
            values=(
                *("Paris", "Roma", "Luân Đôn", "Berlin"),
                *("Tokyo", "Delhi", "Hà Nội", "Bắc Kinh"),
                *("Dakar", "Tunis", "Nairobi", "Lagos"),
            ),
            say=("{P} sống ở {V}", "nhà của {P} ở {V}", "{P} cư trú tại {V}"),
            deny="{P} không sống ở {V}",
            ask=("{P} sống ở đâu", "{P} sống ở thành phố nào"),
            who="ai sống ở {V}",
            say_group="{P} sống ở {G}",
            groups=("châu Âu", "châu Á", "châu Phi"),
        ),
        "job": Relation(
            values=(
                *("bác sĩ", "y tá", "nha sĩ"),
                *("giáo viên", "giáo sư", "thủ thư"),
                *("ca sĩ", "họa sĩ", "vũ công"),
                *("đầu bếp", "thợ làm bánh", "bồi bàn"),
            ),
            say=("{P} là {V}", "{P} làm nghề {V}", "{P} kiếm sống bằng nghề {V}"),
            deny="{P} không phải là {V}",
            ask=("{P} làm nghề gì", "nghề của {P} là gì"),
            who="ai làm nghề {V}",
            say_group="{P} làm việc trong ngành {G}",
            groups=("y tế", "giáo dục", "nghệ thuật", "ẩm thực"),
        ),
        "food": Relation(
            values=(
                *("táo", "xoài", "nho", "chuối"),
                *("cà rốt", "đậu Hà Lan", "cà chua", "hành tây"),
                *("sô-cô-la", "bánh ngọt", "kem", "mật ong"),
            ),
            say=("{P} thích ăn {V}", "{P} rất mê ăn {V}", "món ăn yêu thích của {P} là {V}"),
            deny="{P} không thích ăn {V}",
            ask=("{P} thích ăn gì", "món ăn yêu thích của {P} là gì"),
            who="ai thích ăn {V}",
            say_group="{P} thích ăn {G}",
            groups=("trái cây", "rau củ", "đồ ngọt"),
        ),
        "animal": Relation(
            values=(
                *("con chó", "con mèo", "con thỏ", "con ngựa"),
                *("con bò", "con dê", "con cừu", "con lừa"),
                *("con vẹt", "con bồ câu", "con hoàng yến", "con công"),
            ),
            say=("{P} có một {V}", "{P} nuôi một {V}", "{P} chăm sóc một {V}"),
            deny="{P} không có {V}",
            ask=("{P} có con vật gì", "{P} nuôi con gì"),
            who="ai có một {V}",
            say_group="{P} có một {G}",
            groups=("con vật bốn chân", "con chim"),
        ),
        "drink": Relation(
            values=("trà", "cà phê", "nước lọc", "sữa", "nước chanh", "nước cam", "ca cao"),
            say=(
                "{P} uống {V} vào buổi sáng",
                "buổi sáng, {P} uống {V}",
                "{P} bắt đầu ngày mới bằng {V}",
            ),
            deny="{P} không uống {V} vào buổi sáng",
            ask=("{P} uống gì vào buổi sáng", "buổi sáng, {P} uống gì"),
            who="ai uống {V} vào buổi sáng",
        ),
        "sport": Relation(
            values=(
                *("bóng đá", "quần vợt", "bóng rổ", "bóng chuyền"),
                *("bóng gậy", "khúc côn cầu", "cầu lông", "bóng bầu dục"),
            ),
            say=("{P} chơi {V}", "môn thể thao của {P} là {V}", "{P} hay chơi {V} lúc rảnh"),
            deny="{P} không chơi {V}",
            ask=("{P} chơi môn thể thao nào", "môn thể thao của {P} là gì"),
            who="ai chơi {V}",
        ),
        "hour": Relation(
            values=("năm giờ", "sáu giờ", "bảy giờ", "tám giờ", "chín giờ", "mười giờ"),
            say=(
                "{P} thức dậy lúc {V}",
                "đồng hồ báo thức của {P} reo lúc {V}",
                "một ngày của {P} bắt đầu lúc {V}",
            ),
            deny="{P} không thức dậy lúc {V}",
            ask=("{P} thức dậy lúc nào", "{P} thức dậy lúc mấy giờ"),
            who="ai thức dậy lúc {V}",
        ),
        "car": Relation(
            values=("đỏ", "xanh dương", "xanh lá", "trắng", "đen", "vàng", "xám", "nâu"),
            say=(
                "{P} có một chiếc xe màu {V}",
                "{P} lái một chiếc xe màu {V}",
                "xe của {P} màu {V}",
            ),
            deny="xe của {P} không phải màu {V}",
            ask=("xe của {P} màu gì", "{P} lái chiếc xe màu gì"),
            who="ai có một chiếc xe màu {V}",
        ),
        "language": Relation(
            values=(
                *("tiếng Anh", "tiếng Pháp", "tiếng Việt", "tiếng Hindi"),
                *("tiếng Nhật", "tiếng Ả Rập", "tiếng Nga", "tiếng Đức"),
            ),
            say=("{P} học {V}", "{P} đang học {V}", "{P} theo một lớp {V}"),
            deny="{P} không học {V}",
            ask=("{P} học tiếng gì", "{P} đang học ngôn ngữ nào"),
            who="ai học {V}",
        ),
        "age": Relation(
            values=AGES,
            say=("{P} {V} tuổi", "tuổi của {P} là {V}", "năm nay {P} {V} tuổi"),
            deny="{P} không phải {V} tuổi",
            ask=("{P} bao nhiêu tuổi", "tuổi của {P} là bao nhiêu"),
            who="ai {V} tuổi",
        ),
    },
)
